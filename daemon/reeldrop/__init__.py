"""Drop a prompt file into a folder; get the video back in a folder."""
