"""The rival systems of the papers' tables, one file each, behind one interface; they need PyTorch."""
