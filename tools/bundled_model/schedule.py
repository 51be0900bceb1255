"""The way from noise to clips: the scheduler, and how much of each is in a timestep."""

from __future__ import annotations

from functools import cache

from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

STEPS = 6  # of the sampler, if nothing else is said


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Return the scheduler that the denoiser is trained for."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        solver_order=2,
        algorithm_type="dpmsolver++",
    )


@cache
def signal_and_noise() -> tuple[Tensor, Tensor]:
    """Return the scheduler's alpha and sigma of each timestep.  # (1000,) each"""
    alphas = build_scheduler().alphas_cumprod
    return alphas.sqrt(), (1 - alphas).sqrt()
