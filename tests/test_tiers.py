"""Every test keeps a case in the default tier."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def tests(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder of tests with this project's markers and tiers."""
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    return pytester


def run(tests: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    header = "import pytest\n"
    tests.makepyfile(header + test)
    return tests.runpytest_inprocess(
        "-c", ROOT / "pyproject.toml", "--rootdir", tests.path, "-p", "no:cacheprovider",
        "-p", "no:xdist", tests.path, *arguments,
    )  # fmt: skip


LETTERS = """
@pytest.mark.representatives({names})
@pytest.mark.parametrize("letter", "abcd")
def test_of_letters(letter): pass

def test_of_nothing(): pass
"""


def test_by_default_the_representatives_run(tests: pytest.Pytester) -> None:
    result = run(tests, LETTERS.format(names="'b', 'd'"), "-v")
    result.assert_outcomes(passed=3, deselected=2)
    result.stdout.fnmatch_lines(["*test_of_letters[[]b] PASSED*", "*test_of_letters[[]d] PASSED*"])


def test_before_a_release_all_cases_run(tests: pytest.Pytester) -> None:
    result = run(tests, LETTERS.format(names="'b'"), "-m", "not training")
    result.assert_outcomes(passed=5)


def test_a_name_that_is_no_case_is_an_error(tests: pytest.Pytester) -> None:
    result = run(tests, LETTERS.format(names="'b', 'e'"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*test_of_letters: representatives must name cases of it; got 'e', it has 'a', 'b', *"]
    )


@pytest.mark.parametrize("names", ["", "pytest"])
def test_a_test_whose_cases_are_all_thorough_is_an_error(
    tests: pytest.Pytester, names: str
) -> None:
    if names:
        test = "@pytest.mark.thorough\n@pytest.mark.parametrize('n', [1, 2])\ndef test_x(n): pass"
        expected = "*::test_x has no case in the default tier"
    else:
        test, expected = LETTERS.format(names=""), "*::test_of_letters: representatives must name *"
    result = run(tests, test)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])


def test_a_case_that_is_named_in_full_runs(tests: pytest.Pytester) -> None:
    tests.makepyfile("import pytest\n" + LETTERS.format(names="'b'"))
    [file] = tests.path.glob("test_*.py")
    result = tests.runpytest_inprocess(
        "-c", ROOT / "pyproject.toml", "--rootdir", tests.path, "-p", "no:xdist",
        f"{file}::test_of_letters[a]",
    )  # fmt: skip
    result.assert_outcomes(passed=1)
