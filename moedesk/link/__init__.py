"""The process boundary: protocol and transport of live routing, and the kernels that hold models. numpy, zmq and jupyter only."""
