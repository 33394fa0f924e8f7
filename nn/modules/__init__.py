"""Every module, as naiad.nn has them."""

from naiad.nn.modules import utils  # noqa: F401 - reached as an attribute
from naiad.nn.modules.activation import *  # noqa: F403
from naiad.nn.modules.adaptive import *  # noqa: F403
from naiad.nn.modules.batchnorm import *  # noqa: F403
from naiad.nn.modules.channelshuffle import *  # noqa: F403
from naiad.nn.modules.container import *  # noqa: F403
from naiad.nn.modules.conv import *  # noqa: F403
from naiad.nn.modules.distance import *  # noqa: F403
from naiad.nn.modules.dropout import *  # noqa: F403
from naiad.nn.modules.flatten import *  # noqa: F403
from naiad.nn.modules.fold import *  # noqa: F403
from naiad.nn.modules.instancenorm import *  # noqa: F403
from naiad.nn.modules.linear import *  # noqa: F403
from naiad.nn.modules.loss import *  # noqa: F403
from naiad.nn.modules.module import *  # noqa: F403
from naiad.nn.modules.normalization import *  # noqa: F403
from naiad.nn.modules.padding import *  # noqa: F403
from naiad.nn.modules.pixelshuffle import *  # noqa: F403
from naiad.nn.modules.pooling import *  # noqa: F403
from naiad.nn.modules.rnn import *  # noqa: F403
from naiad.nn.modules.sparse import *  # noqa: F403
from naiad.nn.modules.transformer import *  # noqa: F403
from naiad.nn.modules.upsampling import *  # noqa: F403

__all__ = [name for name, value in globals().items() if isinstance(value, type) and not name.startswith("_")]
