"""OpenStack: the narrow interface that the engine needs, and its openstacksdk adapter."""
