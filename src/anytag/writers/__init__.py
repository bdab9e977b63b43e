"""Writers of recognitions: tables of many pictures, and sidecar files beside each picture."""
