// Prints where the index finger's tip of each hand is: ros2 run awr_ros_example index_tip
#include <memory>

#include "awr_ros_example/index_tip.hpp"
#include "rclcpp/rclcpp.hpp"

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  auto node = std::make_shared<rclcpp::Node>("index_tip");
  // Depth 1: older hands are useless.
  auto subscription = node->create_subscription<awr_ros::msg::HandArray>(
    "tracker/hands", rclcpp::QoS(1),
    [&node](const awr_ros::msg::HandArray & message) {
      for (const auto & hand : message.hands) {
        RCLCPP_INFO(node->get_logger(), "%s", awr_ros_example::describe(hand).c_str());
      }
    });
  rclcpp::spin(node);
  rclcpp::shutdown();
  return 0;
}
