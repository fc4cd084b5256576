"""Import paths that people of the vendor's library already use."""
