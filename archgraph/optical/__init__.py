"""A functional 4f optical system: devices, simulated convolution, time and energy of whole architectures."""
