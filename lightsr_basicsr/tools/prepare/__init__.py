"""Functions behind ``basicsr prepare``: turn folders of images into training and test data."""
