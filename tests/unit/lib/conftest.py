"""Property tests here are bounded by their number of examples: a busy machine must not fail them."""

from hypothesis import settings

settings.register_profile("lastgood-library", deadline=None)
settings.load_profile("lastgood-library")
