"""What recognitions are written as: tables of many pictures, and sidecar files beside each of them."""
