"""Row-stationary arrays whose depthwise layers become group convolutions."""
