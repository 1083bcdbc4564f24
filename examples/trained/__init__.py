"""Networks that are trained here, quantised by the toolchain and measured on images kept apart."""
