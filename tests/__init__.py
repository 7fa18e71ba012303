"""Tests of the pack; tests.helpers and tests.tools hold no tests."""
