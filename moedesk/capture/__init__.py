"""The .h5 capture: layout, writer, reader, recovery. The main importer of h5py."""
