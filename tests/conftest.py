"""Every test runs on one day, so that the age of the shipped prices changes nothing."""

import os

os.environ["LLMPLAN_TODAY"] = "2026-09-01"
