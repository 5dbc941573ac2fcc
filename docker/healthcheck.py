# SPDX-License-Identifier: Apache-2.0
"""Exit status 0 if segment_node answers and is active; 1 and one line that says why not.

`ros2 lifecycle get` exits with 0 in every state, starts a daemon that stays, and takes longer.
CAMSEG_NODE names a node in a namespace, e.g. /front/segment_node.
"""

from __future__ import annotations

import os
import sys

import rclpy
from lifecycle_msgs.srv import GetState

NODE = os.environ.get("CAMSEG_NODE", "/segment_node")
DISCOVERY_LIMIT_S = 5.0
ANSWER_LIMIT_S = 5.0


def state_of(name: str) -> str:
    """Ask the lifecycle node ``name`` for its state; empty if it gives no answer in time."""
    node = rclpy.create_node(
        f"camseg_health_{os.getpid()}", start_parameter_services=False, enable_rosout=False
    )
    client = node.create_client(GetState, f"{name}/get_state")
    if not client.wait_for_service(timeout_sec=DISCOVERY_LIMIT_S):
        return ""
    answer = client.call_async(GetState.Request())
    rclpy.spin_until_future_complete(node, answer, timeout_sec=ANSWER_LIMIT_S)
    return str(answer.result().current_state.label) if answer.done() else ""


def main() -> int:
    """Print the state of the node and return the exit status."""
    rclpy.init(args=[])
    state = state_of(NODE)
    rclpy.shutdown()
    if state == "active":
        print(f"{NODE} is active")
        return 0
    print(f"{NODE} is {state}, not active" if state else f"{NODE} does not answer")
    return 1


if __name__ == "__main__":
    sys.exit(main())
