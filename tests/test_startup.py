"""The pack must not make ComfyUI start noticeably later."""

from tests.helpers.startup import measure

LIMIT = 0.3
HEAVY = {"diffusers", "peft", "controlnet_aux", "cv2"}


def test_loading_is_quick_and_light():
    startup = measure()
    if startup.seconds > LIMIT:
        startup = min(startup, measure(), key=lambda one: one.seconds)  # another process may have used the disk
    assert startup.seconds <= LIMIT
    assert not HEAVY & set(startup.packages)
