"""Fields: which values they take, how they say so, and which ones a class has."""

import math

import pytest

from lightsr_basicsr import fields
from lightsr_basicsr.fields import declared


@pytest.mark.parametrize(
    ("field", "right", "wrong", "wanted"),
    [
        (fields.count(), [1, 7], [0, -1, 2.0, 4.5, "2", True, None, math.inf], "a whole number of at least 1"),
        (fields.count(as_float=True), [1, 5e3], [4.5, math.inf, math.nan, "5e3"], "a whole number of at least 1"),
        (fields.count(least=-1), [-1, 0], [-2, -1.0], "a whole number of at least -1"),
        (fields.number(), [0, -1.5], ["1", True, None, math.nan, math.inf], "a number"),
        (fields.number(least=0, most=1), [0, 0.5, 1], [-0.1, 1.5], "a number from 0 to 1"),
        (fields.number(above=0), [0.1], [0, -1], "a number above 0"),
        (fields.number(most=2, null=True), [2, -3, None], [2.5], "a number of at most 2"),
        (fields.flag(), [True, False], ["false", 0, 1, None], "true or false"),
        (fields.text(), ["a"], ["", 3, None, ["a"]], "a text"),
        (fields.text(choices=("a", "b", "c")), ["b"], ["d", "", None], "a, b or c"),
        (fields.several("", fields.count(), 2), [[1, 2]], [[1], [1, 2, 3], [1, "2"], 1, "12"], "of 2, each a whole"),
        (fields.several("", fields.text()), [[], ["a"]], [[1], "a"], "a list, each a text"),
        (fields.span(), [1, [0, 2.5], [2, 2]], [[2, 1], -1, [1], "1", [0, math.inf]], "or [lowest, highest]"),
        (fields.section(), [{}, {"a": 1}], [None, 3, [1]], "a section"),
        (fields.one_of("", fields.count(least=0), fields.text("", ("auto",))), [0, "auto"], ["all", -1], "or auto"),
        (fields.anything(), [None, 1, "a", []], [], "any value"),
    ],
)  # fmt: skip
def test_a_field_takes_what_it_says(field, right, wrong, wanted):
    assert [value for value in right if field.problem(value)] == []
    for value in wrong:
        problem = field.problem(value)
        assert problem.startswith("must be ")
        assert problem.endswith(f", got {value!r}")
        assert wanted in problem


def test_the_schema_of_a_field_agrees_with_it():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, of the extra test, is not installed")
    values = [None, True, 0, 1, -1, 1.5, "a", "auto", "", [1, 2], [1], [], {}, {"a": 1}]
    alike = [
        fields.count(), fields.count(least=-1, null=True), fields.number(above=0), fields.number(least=0, most=1),
        fields.flag(null=True), fields.text(), fields.text(choices=("a", "b")), fields.several("", fields.count(), 2),
        fields.section(), fields.one_of("", fields.count(), fields.text(choices=("auto",)), null=True),
    ]  # fmt: skip
    for field in alike:
        validator = jsonschema.Draft7Validator(field.schema())
        for value in values:
            assert validator.is_valid(value) is not bool(field.problem(value)), (field.wanted, value)


def test_a_schema_holds_help_and_default():
    assert fields.flag("Whether to.", default=False).schema() == {
        "type": "boolean",
        "description": "Whether to.",
        "default": False,
    }


class Base:
    options = {"a": fields.flag(), "b": fields.flag()}  # noqa: RUF012


class Lender:
    options = {"c": fields.count()}  # noqa: RUF012


class Child(Base):
    takes_options_of = (Lender,)
    options = {"b": fields.count()}  # noqa: RUF012


class Foreign(Base):
    options = "something else"


def test_a_class_has_the_fields_of_its_bases_and_lenders():
    assert {key: field.wanted.split()[0] for key, field in declared(Child).items()} == {"a": "true", "b": "a", "c": "a"}
    assert declared(Foreign) == Base.options
    assert declared(int) == {}
