"""Losses against the public reference's numbers and against paper and pencil."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anytag.nn.losses import asymmetric_loss, language_modeling_loss, rescaled

ORACLE = Path(__file__).parents[1] / "fixtures" / "oracle"
CASES = json.loads((ORACLE / "asymmetric_loss.json").read_text())["cases"]


class TestAsymmetricLoss:
    @pytest.fixture(scope="class")
    @classmethod
    def vectors(cls):
        return load_file(ORACLE / "asymmetric_loss.safetensors")

    @pytest.mark.parametrize("number", range(len(CASES)))
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_the_reference_s_values_and_gradients(self, vectors, number, dtype):
        case, settings = CASES[number], CASES[number]["settings"]
        short = "f64" if dtype == torch.float64 else "f32"
        logits = vectors["logits"].to(dtype).clone().requires_grad_()
        arguments = {
            "gamma_negative": settings["gamma_neg"],
            "gamma_positive": settings["gamma_pos"],
            "clip": settings["clip"] or 0.0,
            "epsilon": settings.get("eps", 1e-8),
            "constant_focus": settings.get("disable_torch_grad_focal_loss", True),
        }
        loss = asymmetric_loss(logits, vectors["targets"].to(dtype), **arguments)
        relative = 1e-9 if dtype == torch.float64 else 1e-5
        assert loss.item() == pytest.approx(case[f"loss_{short}"], rel=relative)
        assert asymmetric_loss(logits, vectors["targets"].long(), **arguments).item() == loss.item()
        loss.backward()
        expected = vectors[f"grad_{short}.{number}"]
        torch.testing.assert_close(logits.grad, expected, rtol=10 * relative, atol=10 * relative)

    def test_all_settings_of_the_reference_are_compared(self):
        assert len(CASES) == 12
        assert sum("eps" in case["settings"] for case in CASES) == 1
        assert sum(not case["settings"].get("disable_torch_grad_focal_loss", True) for case in CASES) == 3

    def test_switched_off_gradients_stay_off(self):
        # The reference's function leaves them on.
        with torch.no_grad():
            asymmetric_loss(torch.zeros(2), torch.tensor([1, 0]), 4.0, 1.0)
            assert not torch.is_grad_enabled()

    def test_the_focusing_weight_is_a_constant_for_the_gradient(self):
        # One negative at p = 1/2, gamma 1, no margin: loss = -log(1/2) / 2; its gradient is p * focus = 1/4.
        logits = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        loss = asymmetric_loss(logits, torch.zeros(1), 1.0, 0.0, 0.0)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(2) / 2)
        assert logits.grad.item() == pytest.approx(0.25)

    def test_the_gradient_through_the_focusing_weight(self):
        # The same with the weight p not constant: d/dx of -p log(1 - p) is p (1 - p) (-log(1 - p) + p / (1 - p)).
        logits = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        asymmetric_loss(logits, torch.zeros(1), 1.0, 0.0, 0.0, constant_focus=False).backward()
        assert logits.grad.item() == pytest.approx((math.log(2) + 1) / 4)

    def test_a_hand_worked_value(self):
        # A positive at p = 1/2: -log(1/2). A negative at p = 1/2: q = .55, weight .45 ** 7.
        logits, targets = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[1, 0]])
        expected = math.log(2) - 0.45**7 * math.log(0.55)
        assert asymmetric_loss(logits, targets).item() == pytest.approx(expected, rel=1e-12)

    def test_an_easy_negative_costs_nothing(self):
        # Below the margin of .05 the probability counts as nought: log(0.05 / 0.95) is about -2.94.
        logits = torch.tensor([-3.0], requires_grad=True)
        loss = asymmetric_loss(logits, torch.zeros(1))
        loss.backward()
        assert loss.item() == 0
        assert logits.grad.item() == 0

    def test_weights_leave_elements_out(self):
        logits, targets = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[0, 1, 0]])
        kept = asymmetric_loss(logits[:, 1:], targets[:, 1:])
        torch.testing.assert_close(asymmetric_loss(logits, targets, weights=torch.tensor([[0.0, 1, 1]])), kept)


class TestLanguageModeling:
    def test_a_hand_worked_value(self):
        # Two of four words equally likely, the others impossible: log 2 a token; one position is left out.
        logits = torch.tensor([[[0.0, 0, -1e9, -1e9], [3.0, 1, 2, 0]]])
        targets = torch.tensor([[1, -100]])
        assert language_modeling_loss(logits, targets, smoothing=0).item() == pytest.approx(math.log(2))

    def test_smoothing(self):
        # Uniform scores cost log 4 whatever the target; a sure and right token costs a tenth of the mean distance.
        assert language_modeling_loss(torch.zeros(1, 4), torch.tensor([2])).item() == pytest.approx(math.log(4))
        logits = torch.tensor([[10.0, 0, 0, 0]])
        normalizer = math.log(math.exp(10) + 3)
        expected = normalizer - 0.9 * 10 - 0.1 * 2.5
        assert language_modeling_loss(logits, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


class TestRescaled:
    def test_magnitude_changes_and_direction_stays(self):
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        loss, to = (x**2).sum(), torch.tensor(0.5)
        scaled = rescaled(loss, to)
        assert scaled.item() == pytest.approx(0.5)
        scaled.backward()
        # The gradient (2, 4) times 0.5 / 5.
        assert x.grad.tolist() == pytest.approx([0.2, 0.4])

    def test_what_it_is_scaled_to_gets_no_gradient(self):
        y = torch.tensor(2.0, requires_grad=True)
        x = torch.tensor(3.0, requires_grad=True)
        rescaled(x * 1, y * 1).backward()
        assert y.grad is None
        assert x.grad.item() == pytest.approx(2 / 3)

    def test_a_vanishing_loss_stays_finite(self):
        x = torch.tensor(0.0, requires_grad=True)
        rescaled(x * 1, torch.tensor(1.0)).backward()
        assert math.isfinite(x.grad.item())
