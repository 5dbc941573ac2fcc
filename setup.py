# SPDX-License-Identifier: Apache-2.0
"""ament_python package: both Python packages, launch and config files, executables."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "camseg_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="CAM-Seg semantic segmentation of road cameras for ROS 2",
    long_description=Path(__file__).resolve().with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="camseg_ros maintainers",
    maintainer="camseg_ros maintainers",
    maintainer_email="maintainers@camseg-ros.invalid",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["camseg_core", "camseg_core.*", "camseg_ros", "camseg_ros.*"]),
    package_data={
        "camseg_core": [
            "py.typed",
            "weights/*.*",
            "data/merges/*.yaml",
            "evaluation/report/*.j2",
            "evaluation/report/*.css",
        ],
        "camseg_ros": ["py.typed", "replay/results/*.j2"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*.*")),
        (f"share/{PACKAGE}/config/training", glob("config/training/*.yaml")),
    ],
    # torch, OpenCV and the other libraries are pinned in requirements/: beside an installed ROS 2
    # they come from there, and setuptools must not fetch other versions.
    install_requires=["setuptools"],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "camseg = camseg_core.cli:main",
            "segment_node = camseg_ros.programs:segment_node",
            "evaluate_node = camseg_ros.programs:evaluate_node",
            "play_node = camseg_ros.programs:play_node",
        ],
        # camseg_core knows nothing of ROS: what needs it comes into its command line from here.
        "camseg.commands": [
            "bag = camseg_ros.commands.bag:add_commands",
            "replay = camseg_ros.commands.replay:add_commands",
        ],
        "camseg.datasets": ["bag = camseg_ros.bag.dataset:open_bag_dataset"],
        "camseg.benchmarks": ["node = camseg_ros.commands.benchmark:add_node_benchmark"],
    },
)
