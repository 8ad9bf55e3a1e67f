"""What becomes of encoders and decoders as computing outgrows memory."""
