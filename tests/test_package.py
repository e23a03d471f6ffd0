import pytest

import qrdistill


@pytest.mark.parametrize("name", qrdistill.__all__)
def test_everything_exported_is_there(name):
    assert getattr(qrdistill, name) is not None


def test_anything_else_is_not():
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = qrdistill.runn
