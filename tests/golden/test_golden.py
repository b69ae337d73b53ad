"""What lazypyr computes, says and calls itself is what it was. `golden.recipes` says how a value is changed on purpose."""

import copy
import functools

import pytest
from golden.pinned import PARTS, comparable, differences, golden, measured
from golden.recipes import RECIPES

PINNED = golden()
CASES = [(part, name) for name, recipe in RECIPES.items() for part in PARTS if comparable(part, recipe)]


@functools.cache
def found(name):
    return measured(RECIPES[name])


@pytest.mark.parametrize(("part", "name"), CASES, ids=[f"{name}-{part}" for part, name in CASES])
def test_is_what_it_was(part, name):
    told = differences(part, name, RECIPES[name], PINNED, found(name))
    assert not told, "\n".join(
        ["if it is meant: python tests/golden/recipes.py --write, in a commit of its own", *told]
    )


@pytest.mark.parametrize("part", PARTS)
def test_every_recipe_is_pinned_and_nothing_else(part):
    wanted = {name for name, recipe in RECIPES.items() if part != "fingerprints" or recipe.fingerprint}
    assert PINNED[part].keys() == wanted


def test_a_difference_is_told_by_recipe_and_key_with_both_values():
    now = copy.deepcopy(found("mean_uint8"))
    now["chunks"]["1/c/0/0"] = "other"
    now["documents"]["1/zarr.json"]["json"]["shape"][1] = 52
    parts = [differences(part, "mean_uint8", RECIPES["mean_uint8"], PINNED, now) for part in PARTS]
    assert [len(told) for told in parts] == [1, 1, 0]
    old = PINNED["chunks"]["mean_uint8"]["1/c/0/0"]
    assert parts[0] == [f'chunks of mean_uint8: 1/c/0/0\n  old "{old}"\n  new "other"']
    assert parts[1] == ["documents of mean_uint8: 1/zarr.json: json: shape[1]\n  old 51\n  new 52"]


def test_pixels_of_inexact_functions_may_differ_in_their_last_digits_only():
    now = copy.deepcopy(found("intensity"))
    samples, recipe = now["chunks"]["0"], RECIPES["intensity"]
    samples[0] *= 1 + 1e-7
    assert not differences("chunks", "intensity", recipe, PINNED, now)
    samples[0] *= 1 + 1e-3
    assert len(differences("chunks", "intensity", recipe, PINNED, now)) == 1
