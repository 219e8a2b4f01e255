"""3D hand tracking for ROS 2 from depth alone, by Adaptive Weighting Regression (AWR)."""
