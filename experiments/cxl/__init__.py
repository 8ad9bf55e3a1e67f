"""Fine-tuning whose host memory is extended by cards on CXL."""
