"""The contracts of aligners, encoders and hosts as checks that other packages run on their own.

    from revision_plugin.testing import check_aligner

    def test_my_aligner():
        check_aligner(MyAligner())

Each raises AssertionError where the contract is broken.
"""

from .aligner_contract import check_aligner
from .encoder_contract import check_encoder
from .host_contract import check_host

__all__ = ["check_aligner", "check_encoder", "check_host"]
