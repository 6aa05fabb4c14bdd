"""Speech becomes a track: lips from the lip map, head, brows and eyes from gestures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggdub.face.expression import ExpressionBasis, close_lips, lip_gap
from mggdub.models import Models
from mggdub.motion import limits, torso
from mggdub.motion.body import interpolated
from mggdub.motion.emotion import load_emotion, with_emotion
from mggdub.motion.gestures import gestures, with_blinks, without_lids
from mggdub.motion.prosody import Prosody, measure_prosody
from mggdub.motion.voice import lip_gate, phrases
from mggdub.networks.motion import MotionBank
from mggdub.networks.speech import CRISP, CRISP_WIDTH, FRAME, QUIETEST, SpeechModel, predict
from mggdub.networks.whisper import SAMPLE_RATE, level
from mggdub.options import MotionOptions
from mggdub.types import IS_BLINK, LIP_MODES, Array, ExpressionTrack, Waveform

GAIN = 1.12  # of people the model never heard it opens the mouth too little
LATER = 0.026  # s: it learned from clips whose sound comes late; now lips part when a p or b bursts
TOUCH, TOUCH_REACH = 0.32, 0.38  # cm: lips heard nearly closed close; from twice the reach on nothing changes


def listen(
    model: SpeechModel,
    bank: MotionBank,
    waveform: Waveform,
    fps: float,
    frames: int,
    *,
    mouth_scale: float = 1.0,
    blink: str = "natural",
    motion: float = 1.0,
    gaze: str = "natural",
    seed: int = 0,
) -> tuple[ExpressionTrack, Prosody]:
    """The face while `waveform` (16 kHz) is spoken, and how it is said: frame i's mid-time is (i + 0.5) / fps.

    `blink` is natural or none, `motion` how much head, brows and eyes move (1 is as people do), `gaze` natural or
    camera. Without speech in it, a sound gives lip modes of exactly zero. The seed decides all but the lips.
    """
    assert waveform.sample_rate == SAMPLE_RATE, waveform.sample_rate
    assert blink in ("natural", "none") and gaze in ("natural", "camera"), (blink, gaze)
    times = (np.arange(frames) + 0.5) / fps
    samples = level(waveform.samples)
    energy = frame_energy(samples)
    spoken: list[tuple[float, float]] = []
    lips = np.zeros((frames, LIP_MODES))
    if np.any(energy > QUIETEST):
        modes, voice = predict(model, samples)
        modes += CRISP * (modes - gaussian_filter1d(modes, CRISP_WIDTH, axis=0, mode="nearest"))
        spoken = heard_phrases(voice, energy)
        gate = lip_gate(spoken, times)[:, None]
        shown = interpolated(touching(model.basis, GAIN * modes), times - LATER)
        lips = close_lips(model.basis, mouth_scale * shown) * gate
    prosody = measure_prosody(samples, spoken)
    moving = gestures(bank, prosody, times, seed, motion, gaze, blink)
    units = with_blinks(moving.units, moving.lids) if blink == "natural" else without_lids(moving.units)
    parts = (units, lips.astype(np.float32), moving.rotation, moving.translation, moving.torso)
    return limits.bounded(torso.near_head(ExpressionTrack(times, *parts))), prosody


def heard_phrases(voice: Array, energy: Array) -> list[tuple[float, float]]:
    """(start, end) s of what is spoken: where the model hears voice [n] and there is sound, of `frame_energy` [n]."""
    return phrases(np.where(energy > QUIETEST, voice, 0.0))


def touching(basis: ExpressionBasis, modes: Array) -> Array:
    """Modes [n, 8] whose small openings are smaller: a map that is unsure of p, b and m stays a little open."""
    gap = lip_gap(basis, modes)
    return modes - TOUCH * np.exp(-np.square(gap / TOUCH_REACH))[:, None] * basis.opening


def frame_energy(samples: Array) -> Array:
    """Mean power [n] of a sound's frames of 40 ms."""
    frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
    return np.square(frames, dtype=np.float64).mean(1)


def speech_track(speech: Waveform, models: Models, options: MotionOptions) -> tuple[ExpressionTrack, Prosody]:
    """What the head does while this is said, and how it is said."""
    frames = max(1, round(speech.duration * float(options.fps)))
    track, prosody = listen(
        models.speech,
        models.motion,
        speech,
        float(options.fps),
        frames,
        mouth_scale=options.mouth_scale,
        blink=options.blink,
        motion=options.liveliness,
        gaze=options.gaze,
        seed=options.seed,
    )
    scale = np.where(IS_BLINK, 1.0, options.expression_scale)
    units = (track.blendshapes * scale).astype(np.float32)
    track = replace(track, blendshapes=units, at_camera=options.gaze == "camera")
    if options.emotion != "neutral":
        track = with_emotion(track, models.expression, load_emotion(options.emotion), options.emotion_strength)
    return track, prosody
