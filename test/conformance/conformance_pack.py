# For the server that `npm run conformance -- --validation` asks: copy this file into its custom_nodes.
# Its node keeps the server busy, so that what is accepted waits and is taken out of the queue without being run. And where
# the server walks through a set, in an order that is another at each start, it walks in the order of the declarations.
import time

import execution
import nodes


class InOrder(dict):
    def __init__(self, items=()):
        super().__init__(dict.fromkeys(items))

    def add(self, item):
        self[item] = None

    def union(self, other):
        return InOrder([*self, *other])


execution.set = InOrder


class NightshiftHold:
    RETURN_TYPES = ()
    FUNCTION = "hold"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("INT", {"default": 600, "max": 86400})}}

    def hold(self, seconds):
        for _ in range(seconds * 5):
            nodes.before_node_execution()
            time.sleep(0.2)
        return {}


NODE_CLASS_MAPPINGS = {"NightshiftHold": NightshiftHold}
