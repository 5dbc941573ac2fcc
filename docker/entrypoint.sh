#!/bin/bash
# Runs a command with ROS 2 and this package sourced. Not `set -u`: setup.bash reads unset variables.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /opt/camseg/install/setup.bash
exec "$@"
