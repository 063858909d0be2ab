"""Networks: plain :class:`torch.nn.Module` objects sized by the shape of their images."""
