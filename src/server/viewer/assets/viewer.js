// The little script of the viewer. Every page works without it.
"use strict";
