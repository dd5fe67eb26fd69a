"""Tuned strengths are defaults of one model, and only of that one."""

from scenewright.guidance import METHODS, build, parameters
from scenewright.guidance.tuned import TUNED


def test_every_tuned_name_is_a_parameter_of_some_method():
    known = {name for method in METHODS for name in parameters(method)}
    assert all(name in known for table in TUNED.values() for name in table)


def test_other_models_keep_the_published_values():
    assert parameters("zest", "somebody/else") == parameters("zest")
    assert parameters("zest")["zest.eta"] == 1.0


def test_tuned_defaults_build_and_are_told():
    for method in METHODS:
        values = parameters(method, "embedded")
        assert {name: values[name] for name in TUNED["embedded"] if name in values} == {
            name: value for name, value in TUNED["embedded"].items() if name in values
        }
        assert build(method, **values)
