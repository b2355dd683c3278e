"""Networks that no one here trained, as pure functions of their parameters.

The parameters are read by `jaxpriv.data.pretrained`, which also says who
trained each network on what, and on what terms.
"""
