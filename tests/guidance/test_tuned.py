"""Tuned strengths are defaults of one model, and only of that one."""

from scenewright.guidance import METHODS, build, parameters
from scenewright.guidance.tuned import TOGETHER, TUNED


def test_every_tuned_name_is_a_parameter_of_some_method():
    known = {name for method in METHODS for name in parameters(method)}
    assert all(name in known for table in (*TUNED.values(), *TOGETHER.values()) for name in table)


def test_other_models_keep_the_published_values():
    assert parameters("zest", "somebody/else") == parameters("zest")
    assert parameters("zest")["zest.eta"] == 1.0


def test_tuned_defaults_build_and_are_told():
    for method in METHODS:
        values = parameters(method, "embedded")
        wanted = TUNED["embedded"] | TOGETHER.get(("embedded", method), {})
        assert all(values[name] == value for name, value in wanted.items() if name in values)
        assert build(method, **values)


def test_a_combination_may_have_its_own_values_in_any_order():
    alone, both = parameters("paint", "embedded"), parameters("paint+zest", "embedded")
    for name, value in TOGETHER["embedded", "zest+paint"].items():
        assert both[name] == value != alone[name]
