"""A single-node OpenStack from Debian's packages, in namespaces of its own: what the real suite runs against."""
