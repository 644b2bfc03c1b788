# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person writes, made one normal form, and everything that is refused."""

from __future__ import annotations

import pytest

from baleine import units
from baleine.errors import BaleineError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://mirror.example/debian/", "http://mirror.example/debian"),
        ("http://mirror.example//", "http://mirror.example"),
        ("file:///", "file:///"),
        ("deb http://mirror.example/own ./", "deb http://mirror.example/own ./"),
        ("", ""),
    ],
)
def test_a_final_slash_of_a_mirror_is_ignored_and_a_sources_line_is_kept_unchanged(text, normal):
    assert units.normal_address(text) == normal


@pytest.mark.parametrize(
    ("name", "what", "normal"),
    [
        ("web1", "container", "web1"),
        ("Web_1.example-2", "container", "Web_1.example-2"),
        ("1", "container", "1"),
        ("a" * 63, "container", "a" * 63),
        ("a" * 15, "bridge", "a" * 15),
        ("private", "bridge", "private"),
        ("apache2", "image", "apache2"),
        ("apache2:v1.2", "image", "apache2:v1.2"),
        ("apache2:latest", "image", "apache2"),
        ("latest", "image", "latest"),
        ("a..b", "image", "a..b"),
    ],
)
def test_a_valid_name_is_kept_without_the_tag_latest(name, what, normal):
    assert units.check_name(name, what) == normal


@pytest.mark.parametrize("what", ["container", "bridge", "image"])
@pytest.mark.parametrize(
    "name",
    ["", "a/b", "/etc/passwd", "a b", " a", "a ", "..", ".", ".hidden", "-a", "_a", "a" * 300, "a" * 64, "a\n", "a\0b"]
    + ["é", "a*b", "a;b", "a$b", "../a", "a:b:c", "a:", ":a", "a:.b", "a:" + "b" * 64],
    ids=lambda name: repr(name[:12]),
)
def test_a_name_that_could_be_another_path_is_refused(name, what):
    with pytest.raises(BaleineError) as caught:
        units.check_name(name, what)
    assert what in caught.value.message
    assert len(caught.value.message) < 200
    assert caught.value.hint


@pytest.mark.parametrize("what", ["container", "bridge"])
def test_only_an_image_has_a_tag(what):
    with pytest.raises(BaleineError, match="no valid name"):
        units.check_name("web:v1", what)


def test_a_bridge_of_16_characters_is_refused_as_the_kernel_would():
    with pytest.raises(BaleineError, match="16 characters.*at most 15"):
        units.check_name("b" * 16, "bridge")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 536870912),
        ("512MiB", 536870912),
        ("512MB", 536870912),
        ("512m", 536870912),
        ("512 M", 536870912),
        (" 512M ", 536870912),
        ("536870912", 536870912),
        ("536870912B", 536870912),
        (536870912, 536870912),
        ("0.5G", 536870912),
        ("1.5G", 1610612736),
        ("10g", 10737418240),
        ("1T", 1 << 40),
        ("1K", 1024),
        ("1kib", 1024),
        ("0", 0),
    ],
)
def test_a_size_is_converted_to_bytes(text, size):
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("10240", 10 << 30), (10240, 10 << 30), ("1.5", 3 << 19), ("10240M", 10 << 30), ("1048576B", 1 << 20)],
)
def test_a_number_without_unit_is_bytes_by_default(text, size):
    assert units.parse_size(text, bare=units.MEBIBYTE) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M",
        "-1",
        "-1M",
        "1e3",
        "1,5G",
        "512X",
        "512MM",
        "512iB",
        "B512",
        "1.G",
        ".5G",
        "five",
        "1 2M",
        "nan",
        "0x10",
        "٣M",
    ]
    + ["9" * 400 + ".5G", "9" * 5000],
    ids=lambda text: text[:10] or "empty",
)
def test_an_invalid_size_is_refused(text):
    with pytest.raises(BaleineError, match="size"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (1024, "1K"),
        (1536, "1.5K"),
        (536870912, "512M"),
        (10 << 30, "10G"),
        (1 << 40, "1T"),
        ((10 << 30) + 1, "10.0G"),
        (3 << 29, "1536M"),
    ],
)
def test_a_size_is_shown_in_the_largest_exact_unit(size, text):
    assert units.show_size(size) == text


@pytest.mark.parametrize("size", [4096, 1 << 20, 536870912, 10 << 30, 3 << 29])
def test_a_shown_exact_size_is_read_back(size):
    assert units.parse_size(units.show_size(size)) == size


@pytest.mark.parametrize(
    ("value", "cpus"), [(None, None), ("0.5", 0.5), (0.5, 0.5), (1, 1.0), ("2", 2.0), ("0.01", 0.01), (0.33333, 0.3333)]
)
def test_a_number_of_cpus_has_one_normal_form(value, cpus):
    assert units.parse_cpus(value, "x") == cpus


@pytest.mark.parametrize("value", ["", "0", 0, -1, "half", "nan", "inf", "1e9", 0.001])
def test_an_invalid_number_of_cpus_is_refused(value):
    with pytest.raises(BaleineError, match=r"x: limits\.cpus"):
        units.parse_cpus(value, "x")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (None, None),
        ("0", "0"),
        ("0-2,7", "0-2,7"),
        ("7,0,1,2", "0-2,7"),
        ("0,1", "0-1"),
        (" 0 , 1-3 ", "0-3"),
        ("0-3,2-5", "0-5"),
        ("3-3", "3"),
        (0, "0"),
    ],
)
def test_a_set_of_cpus_has_the_form_of_the_kernel(text, normal):
    assert units.parse_cpuset(text, "x") == normal


@pytest.mark.parametrize("text", ["", ",", "a", "2-1", "-1", "0-", "0--1", "1.5", "0;1", "999999"])
def test_an_invalid_set_of_cpus_is_refused(text):
    with pytest.raises(BaleineError, match=r"x: .* is no list of numbers"):
        units.parse_cpuset(text, "x")


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([0], "0"), ([0, 1], "0-1"), ([0, 2, 3, 4, 9], "0,2-4,9")])
def test_sorted_numbers_are_joined_to_ranges(numbers, text):
    assert units.join_ranges(numbers) == text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/usr/sbin/apache2ctl start", ("/usr/sbin/apache2ctl", "start")),
        ("sh -c 'echo \"a b\" $HOME; ls > x'", ("sh", "-c", 'echo "a b" $HOME; ls > x')),
        ('echo "it\'s"', ("echo", "it's")),
        ("echo a\\ b ''", ("echo", "a b", "")),
        (["/bin/echo", "a b", ""], ("/bin/echo", "a b", "")),
        (["/bin/sleep", 5], ("/bin/sleep", "5")),
        ("a # b", ("a", "#", "b")),
    ],
)
def test_a_command_is_split_like_shell_words_and_nothing_is_expanded(command, words):
    assert units.split_command(command, "x") == words


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo 'open", "quot"),
        ('echo "open', "quot"),
        ("", "empty"),
        ("   ", "empty"),
        ("''", "empty"),
        ([], "empty"),
        ([""], "empty"),
        (["echo", "a\0b"], "NUL"),
        ("echo a\0b", "NUL"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command, why):
    with pytest.raises(BaleineError, match=why):
        units.split_command(command, "x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (86399, "23:59:59"), (3 * 86400 + 14706, "3d 04:05:06")],
)
def test_a_running_time_is_shown_as_a_clock(seconds, text):
    assert units.show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20mbit", 20_000_000),
        ("1.5gbit", 1_500_000_000),
        ("64k", 64_000),
        ("20Mbit", 20_000_000),
        (None, None),
        ("", None),
    ],
)
def test_a_rate_is_parsed_and_shown(text, rate):
    assert units.parse_rate(text, "x") == rate
    assert units.parse_rate(units.show_rate(rate) if rate else None, "x") == rate


@pytest.mark.parametrize("text", ["1", "20mb", "-5mbit", "fast", "10kbit", "20mbit/s", "1e6"])
def test_an_invalid_rate_is_refused(text):
    with pytest.raises(BaleineError, match="x: .* is no rate"):
        units.parse_rate(text, "x")


@pytest.mark.parametrize(
    ("path", "normal"), [("/a", "/a"), ("//a/./b/", "/a/b"), ("///a/../b", "/b"), ("//", "/"), ("a//b", "a/b")]
)
def test_a_path_has_one_normal_form(path, normal):
    assert units.normal_path(path) == normal
