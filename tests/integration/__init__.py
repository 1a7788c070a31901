"""Tests that need a running broker."""
