"""What the task files call by name; all of it lives in `revision_plugin.evaluation`."""

from revision_plugin.evaluation.documents import image, single_image, visulogic_image  # noqa: F401
from revision_plugin.evaluation.prompts import *  # noqa: F403
from revision_plugin.evaluation.scoring import *  # noqa: F403
