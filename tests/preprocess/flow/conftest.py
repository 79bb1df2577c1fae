import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def textured_clip():
    """Four gray frames of a turning and drifting texture, of an odd size. uint8 [4, 121, 161]."""
    rng = np.random.default_rng(5)
    picture = sum(
        cv2.resize(rng.uniform(0, 1, (n, n)).astype(np.float32), (300, 300), interpolation=cv2.INTER_CUBIC) / n**0.5
        for n in (10, 30, 90)
    )
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    frames = []
    for t in range(4):
        turn = cv2.getRotationMatrix2D((150, 150), 1.5 * t, 1 + 0.01 * t) + np.array(
            [[0, 0, -70 + 1.7 * t], [0, 0, -90 - t]]
        )
        frames.append(cv2.warpAffine(picture, turn, (161, 121), flags=cv2.INTER_CUBIC))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def real_pairs(shared_data):
    """Pairs of neighbouring frames of four Kinetics clips, short side 128. List of uint8 [2, H, W].

    Not of the clips with chaotic pairs, which OpenCV itself does not reproduce: see benchmarks/RESULTS.md.
    """
    from preprocess.media import read_clip, to_gray

    pairs = []
    for name in ("SOX5yA1l24A.mp4", "R6llTwEh07w.mp4", "mmaction2_demo_arm_wrestling.mp4", "ask_yoga.mp4"):
        frames = to_gray(read_clip(shared_data / "kinetics" / name, short_side=128, max_frames=52))
        pairs += [np.ascontiguousarray(frames[at : at + 2]) for at in (10, 30, 50)]
    return pairs


def endpoint_error(flow_2HW, other_2HW):
    """Mean length of the difference, in px."""
    return float(np.linalg.norm(flow_2HW - other_2HW, axis=0).mean())
