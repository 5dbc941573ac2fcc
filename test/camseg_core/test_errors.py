# SPDX-License-Identifier: Apache-2.0
from camseg_core.errors import in_one_line


def test_an_error_of_several_lines() -> None:
    assert in_one_line(KeyError("a\n  b")) == "KeyError: 'a\\n b'"
    assert in_one_line(ValueError("first\n\tsecond  third\r\n")) == "ValueError: first second third"
