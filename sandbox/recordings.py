"""Recordings as real WAV files, made when they are asked for: 8 kHz, mono, 8 bits, a tone of 400 Hz."""

import io
import math
import wave

_RATE = 8_000
_HERTZ = 400
# A long call's file stays small.
_LONGEST_MS = 30_000
_PERIOD = bytes(128 + round(60 * math.sin(2 * math.pi * n * _HERTZ / _RATE)) for n in range(_RATE // _HERTZ))


def wav(talk_ms: int) -> bytes:
    """The file of a call that talked `talk_ms`; its sound is as long, up to 30 s."""
    samples = min(talk_ms, _LONGEST_MS) * _RATE // 1000
    sound = (_PERIOD * (samples // len(_PERIOD) + 1))[:samples]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(_RATE)
        writer.writeframes(sound)
    return file.getvalue()
