"""Functions behind ``basicsr prepare``: from folders of images to the data that training and testing read."""
