"""Tracking of recordings: bags, folders of depth images, single images. Needs no ROS."""
