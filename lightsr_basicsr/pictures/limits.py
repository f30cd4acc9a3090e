"""How many pixels an image may have, for those who must know it before anything is imported."""

# Unless the variable, which is OpenCV's, says otherwise. The largest cameras give 400 million; 500 million need 1.5 GB
# at 8 bits.
MOST_PIXELS, PIXELS_VARIABLE = 500_000_000, "OPENCV_IO_MAX_IMAGE_PIXELS"
