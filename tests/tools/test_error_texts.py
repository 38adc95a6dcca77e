"""What the search in the source finds, on small packages."""

from pathlib import Path
from textwrap import dedent

import pytest

from sagemaker_object_detection.tools.error_texts import ErrorText, error_classes, error_texts
from sagemaker_object_detection.tools.syntax import Package

HEAD = """
class JobError(Exception):
    pass
class ClientError(JobError):
    pass
class Wrapped(ClientError):
    def __init__(self, where, what):
        super().__init__(f"{where}: {what}. Mend it.")
"""


def package_of(folder: Path, **modules: str) -> Package:
    """A package `demo` of these modules; `errors` is there."""
    inside = folder / "demo"
    inside.mkdir()
    (inside / "errors.py").write_text(dedent(HEAD))
    for name, source in modules.items():
        (inside / f"{name}.py").write_text(dedent(source))
    return Package(inside)


def texts_of(folder: Path, source: str) -> list[str]:
    return [row.text for row in error_texts(package_of(folder, a=source))]


VALUES = [
    pytest.param("'plain words'", "plain words", id="a constant"),
    pytest.param("f'{x}: is {x.y!r}'", "<x>: is <y>", id="fields by their last name"),
    pytest.param("f'{self._dir} has {len(xs)} of it'", "<dir> has <number of xs> of it", id="len"),
    pytest.param("f'a {type(x).__name__} here'", "a <type of x> here", id="type"),
    pytest.param("f'all of {\", \".join(map(str, xs))}'", "all of <xs>", id="join"),
    pytest.param("f'id is {shown(entry.get(\"id\"))}'", "id is <id>", id="get"),
    pytest.param("f'see {folder / \"a.log\"}'", "see <folder>/a.log", id="a path"),
    pytest.param("f'in 0..{n - 1}, not'", "in 0..<n - 1>, not", id="arithmetic"),
    pytest.param("f'{size / 2**20:g} MB'", "<size> MB", id="a unit"),
    pytest.param("f'{row[0]} of {rows[1].tolist()}'", "<row> of <rows>", id="subscripts"),
    pytest.param("'one ' + 'two ' + str(x)", "one two <x>", id="sums"),
    pytest.param("f'at most {LIMIT} or {2**3:x}'", "at most 4096 or 8", id="numbers"),
    pytest.param("f'say {CURE}'", "say Do it again.", id="constants"),
    pytest.param('f\'it is {"a" if x else "b"} now\'', "it is (a | b) now", id="either"),
    pytest.param('f\'it is{f" ({x})" if x else ""} now\'', "it is[ (<x>)] now", id="optional"),
    pytest.param("f'braces {{x}} and  spaces'", "braces {x} and spaces", id="braces"),
    pytest.param("f'{sum(a * b for a, b in zip(left, right)) % 9} is'", "<value> is", id="long"),
]


@pytest.mark.parametrize(("expression", "text"), VALUES)
def test_expressions(tmp_path: Path, expression: str, text: str) -> None:
    source = f"""
    LIMIT = 4 * 2 ** 10
    CURE = "Do it again."
    def f(self):
        raise ClientError({expression})
    """
    assert texts_of(tmp_path, source) == [text]


FLOWS = [
    pytest.param(
        """
        def f():
            what = "it broke"
            raise ClientError(f"{what} here")
        """,
        ["it broke here"],
        id="a variable",
    ),
    pytest.param(
        """
        def f(x):
            if x:
                what = "is too small"
                raise ClientError(f"{x} {what}")
            what = "is too large"
            raise ClientError(f"{x} {what}")
        """,
        ["<x> is too small", "<x> is too large"],
        id="each error has its own",
    ),
    pytest.param(
        """
        def f(x):
            what = "is too small by far"
            if x:
                what = "is too large by far"
            raise ClientError(f"{x} {what}")
        """,
        ["<x> is too small by far", "<x> is too large by far"],
        id="sentences of either branch",
    ),
    pytest.param(
        """
        def f(x):
            return refuse("has no head")
        def g(x):
            return refuse(f"has {x} heads")
        def refuse(reason):
            return ClientError(f"it {reason}")
        """,
        ["it has no head", "it has <x> heads"],
        id="a function that puts the error together",
    ),
    pytest.param(
        """
        def f(path):
            check(path, "manifests")
            check(path, "COCO files")
        def check(path, what):
            raise ClientError(f"{path} holds several {what}")
        """,
        ["<path> holds several manifests", "<path> holds several COCO files"],
        id="single words beside a sentence",
    ),
    pytest.param(
        """
        def f():
            return refuse("record 1 of all")
        def refuse(name):
            return ClientError(f"{name}: it is bad")
        """,
        ["<name>: it is bad"],
        id="places stay values",
    ),
    pytest.param(
        """
        def f(x):
            raise ClientError(words(x, "very"))
        def words(y, how):
            return f"{y} is {how} bad"
        """,
        ["<x> is very bad"],
        id="a function that returns the text",
    ),
    pytest.param(
        """
        from demo.errors import Wrapped
        def f(path):
            raise Wrapped(str(path), "is no file")
        """,
        ["<where>: is no file. Mend it."],
        id="a class that puts its text together",
    ),
    pytest.param(
        """
        def f(n):
            return f(n)
        def g(n):
            raise ClientError(f"{f(n)} without end")
        """,
        ["<n> without end"],
        id="recursion ends",
    ),
    pytest.param(
        """
        def f(error):
            raise ClientError(str(error)) from ClientError(error)
        """,
        [],
        id="a text from elsewhere is no new one",
    ),
]


@pytest.mark.parametrize(("source", "texts"), FLOWS)
def test_texts_are_followed(tmp_path: Path, source: str, texts: list[str]) -> None:
    assert texts_of(tmp_path, source) == texts


LISTS = [
    pytest.param("faults.append(f'{x} is bad')", id="append"),
    pytest.param("self._offenders.add(f'{x} is bad')", id="add"),
    pytest.param("faults.extend([f'{x} is bad'])", id="extend"),
    pytest.param("faults += [f'{x} is bad' for x in xs]", id="more"),
    pytest.param("faults = [f'{x} is bad' for x in xs]", id="made at once"),
    pytest.param("raise ClientError(*[f'{x} is bad' for x in xs])", id="unpacked"),
    pytest.param("raise ClientError(*(f'{x} is bad' for x in xs))", id="generated"),
    pytest.param("Dropped(x, 'class_id', f'{x} is bad')", id="a row that refuses"),
]


@pytest.mark.parametrize("statement", LISTS)
def test_lists_of_faults(tmp_path: Path, statement: str) -> None:
    package = package_of(tmp_path, a=f"def f(self, xs):\n    {statement}\n")
    assert error_texts(package) == [ErrorText("a", "ClientError", "<x> is bad")]


def test_faults_that_are_returned(tmp_path: Path) -> None:
    source = """
    def f(x) -> tuple[str, list[str]]:
        faults: list[str] = []
        return x, ["it is bad"]
    """
    assert texts_of(tmp_path, source) == ["it is bad"]


def test_rows_of_the_report_are_told_apart(tmp_path: Path) -> None:
    package = package_of(tmp_path, a="x = Dropped(name, 'truncated', f'{name} is cut')")
    assert error_texts(package) == [ErrorText("a", "Dropped", "<name> is cut")]


def test_a_text_belongs_to_the_module_that_speaks(tmp_path: Path) -> None:
    package = package_of(
        tmp_path,
        helper="def refuse(reason):\n    return ClientError(f'it {reason}')\n",
        user="from demo.helper import refuse\nx = refuse('is too heavy')\n",
    )
    assert error_texts(package) == [ErrorText("user", "ClientError", "it is too heavy")]


def test_constants_of_other_modules(tmp_path: Path) -> None:
    package = package_of(
        tmp_path,
        other="CURE = 'Mend it.'\nMOST = 10\n",
        user="""
        from demo import other
        from demo.other import MOST
        x = ClientError(f'{MOST} is most. {other.CURE}')
        """,
    )
    assert [row.text for row in error_texts(package)] == ["10 is most. Mend it."]


def test_headings_announce_their_list(tmp_path: Path) -> None:
    source = """
    from demo.data.refusal import refusal
    def f(offenders, missing):
        raise refusal("Files are missing", missing)
        offenders.refuse("They do not match")
    """
    below = " (<number> in all): <up to ten of them, one a line>"
    assert texts_of(tmp_path, source) == [
        f"Files are missing{below}",
        f"They do not match{below}",
    ]


def test_classes_by_what_they_are_derived_from(tmp_path: Path) -> None:
    package = package_of(
        tmp_path, a="class Late(Wrapped):\n    pass\nclass Other(Thing):\n    pass\n"
    )
    assert error_classes(package) == {
        "Late": "Wrapped",
        "JobError": "Exception",
        "ClientError": "JobError",
        "Wrapped": "ClientError",
    }


def test_titles_are_the_docstrings_first_paragraph(tmp_path: Path) -> None:
    package = package_of(tmp_path, a='"""Two lines\nof it.\n\nMore."""\n', b="x = 1\n")
    assert {name: module.title for name, module in package.modules.items()} == {
        "a": "Two lines of it",
        "b": "b",
        "errors": "errors",
    }
