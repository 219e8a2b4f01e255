"""Tracking what was recorded: bags, folders of depth images, single images. Needs no ROS."""
