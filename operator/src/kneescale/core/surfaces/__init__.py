"""Latency over GPU% and batch: measured, fitted or predicted; and its knee."""
