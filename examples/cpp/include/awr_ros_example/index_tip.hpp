// Reading a HandArray: no rclcpp here, so that this part compiles against the messages alone.
#pragma once

#include <cmath>
#include <cstdio>
#include <optional>
#include <string>

#include "awr_ros/msg/hand_array.hpp"

namespace awr_ros_example
{

// The index finger's tip [m] in the camera's optical frame; none when the model has no such joint or the hand was not
// seen in this image (its joints are then those of an earlier one).
inline std::optional<geometry_msgs::msg::Point> index_tip(const awr_ros::msg::Hand & hand)
{
  const auto & tip = hand.joints[awr_ros::msg::Hand::INDEX_TIP];
  if (hand.tracking_state == awr_ros::msg::Hand::TRACKING_COASTING || !std::isfinite(tip.x + tip.y + tip.z)) {
    return std::nullopt;
  }
  return tip;
}

inline const char * side_name(const awr_ros::msg::Hand & hand)
{
  switch (hand.side) {
    case awr_ros::msg::Hand::SIDE_LEFT: return "left";
    case awr_ros::msg::Hand::SIDE_RIGHT: return "right";
    default: return "hand";
  }
}

// "right 3: 0.012 -0.104 0.480 m", or "right 3: not seen".
inline std::string describe(const awr_ros::msg::Hand & hand)
{
  const std::string name = std::string(side_name(hand)) + " " + hand.id + ": ";
  const auto tip = index_tip(hand);
  if (!tip) {
    return name + "not seen";
  }
  char position[96];
  std::snprintf(position, sizeof(position), "%.3f %.3f %.3f m", tip->x, tip->y, tip->z);
  return name + position;
}

}  // namespace awr_ros_example
