package manifests_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// tokensDir is given as a Secret, which the chart mounts.
const tokensDir = "GHL_TOKENS_DIR"

func TestEveryContainerGetsTheVariablesOfItsProcess(t *testing.T) {
	t.Parallel()
	arguments := []string{"--values=testdata/options.yaml"}
	for _, v := range config.All() {
		if v.Name != tokensDir {
			arguments = append(arguments, "--set="+v.Chart+"="+sample(v))
		}
	}
	containers := map[string]map[string]any{}
	for _, object := range chart(t, arguments...) {
		if pod := podOf(object); pod != nil {
			container := containersOf(pod)[0]
			containers[container["name"].(string)] = container
		}
	}
	for _, process := range config.Installed() {
		want := map[string]any{"HTTPS_PROXY": "http://proxy.example.com:3128"} // One of extraEnv.
		if process.Name != "migrate" {
			want["POD_NAMESPACE"] = nil
		}
		for _, v := range process.Variables {
			want[v.Name] = sample(v)
			if v.Secret {
				want[v.Name] = nil // From the Secret.
			}
		}
		got := map[string]any{}
		for _, entry := range containers[process.Name]["env"].([]any) {
			entry := entry.(map[string]any)
			assert.NotContains(t, got, entry["name"])
			got[entry["name"].(string)] = entry["value"]
		}
		assert.Equal(t, want, got, process.Name)
	}
}

// sample returns a value of a variable, which the chart's schema accepts.
func sample(v config.Variable) string {
	switch {
	case v.Values != nil:
		return v.Values[0]
	case v.Name == tokensDir:
		return "/var/run/verity-sync/ghl-tokens"
	}
	samples := map[config.Type]string{
		config.TypeBoolean: "true", config.TypeInteger: "7", config.TypeDuration: "7m", config.TypeURL: "https://sample.example.com",
		config.TypeRegion: "CH", config.TypeRegions: "location=CH",
	}
	return cmp.Or(samples[v.Type], "sample")
}

func TestSecretsAreOnlyInTheSecret(t *testing.T) {
	t.Parallel()
	values := readYAML(t, "testdata/options.yaml")
	secrets, _, err := unstructured.NestedStringMap(values, "secret", "data")
	require.NoError(t, err)
	require.NotEmpty(t, secrets)
	for _, object := range rendered["chart with all options"](t) {
		text, err := json.Marshal(object.Object)
		require.NoError(t, err)
		for name, secret := range secrets {
			if object.GetKind() != "Secret" {
				assert.NotContains(t, string(text), `"`+secret+`"`, "%s in %s %s", name, object.GetKind(), object.GetName())
			}
		}
	}
}

func TestValuesHaveEveryVariableAsTheProcessesDescribeIt(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for _, v := range config.All() {
		if v.Name != tokensDir {
			want[v.Name] = described(v)
		}
	}
	got := map[string]string{}
	content, err := os.ReadFile(file(t, "config", "chart", "values.yaml"))
	require.NoError(t, err)
	var values struct {
		Secret struct{ Data yaml.Node }
		Config yaml.Node
	}
	require.NoError(t, yaml.Unmarshal(content, &values))
	for _, node := range slices.Concat(values.Secret.Data.Content, values.Config.Content) {
		if node.HeadComment != "" {
			got[node.Value] = strings.ReplaceAll(strings.TrimPrefix(node.HeadComment, "# "), "\n# ", " ")
		}
	}
	assert.Equal(t, want, got)
}

// described returns a variable's line as it must be in values.yaml: which processes read it, and its description.
func described(v config.Variable) string {
	who := strings.Join(v.Readers, ", ")
	if len(v.Readers) == len(config.Installed()) {
		who = "all processes"
	}
	return strings.ToUpper(who[:1]) + who[1:] + ": " + v.Description()
}

func TestSchemaKnowsTheValuesAndNoOthers(t *testing.T) {
	t.Parallel()
	values := readYAML(t, file(t, "config", "chart", "values.yaml"))
	values["global"] = map[string]any{} // Helm's own.
	schema := readYAML(t, file(t, "config", "chart", "values.schema.json"))
	compareWithSchema(t, "values", values, schema, schema["$defs"].(map[string]any))
}

// compareWithSchema also sees that the schema refuses what it does not name.
func compareWithSchema(t *testing.T, path string, value any, schema, definitions map[string]any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema = definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	object, isObject := value.(map[string]any)
	properties, hasProperties := schema["properties"].(map[string]any)
	if !isObject || !hasProperties {
		assert.False(t, hasProperties, "%s has properties in the schema only", path)
		return
	}
	assert.Equal(t, false, schema["additionalProperties"], "%s takes anything", path)
	if len(object) == 0 {
		return // Something of Kubernetes' that is empty by default.
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(properties)), slices.Collect(maps.Keys(object)), "the properties of %s", path)
	for key, property := range properties {
		compareWithSchema(t, path+"."+key, object[key], property.(map[string]any), definitions)
	}
}

func TestMistakesInValuesAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ set, names string }{
		"a typing error at the top":                         {"receivers.replicas=3", "receivers"},
		"a typing error further down":                       {"receiver.replica=3", "replica"},
		"a variable that no process has":                    {"config.VERITY_URL=https://verity.example.com", "VERITY_URL"},
		"a secret among the variables":                      {"config.DATABASE_URL=x", "DATABASE_URL"},
		"a secret that no process has":                      {"secret.data.DATABASE=x", "DATABASE"},
		"a text where a number belongs":                     {"receiver.replicas=two", "replicas"},
		"a number where a text belongs":                     {"config.RETENTION=90", "RETENTION"},
		"a duration that is none":                           {"config.RETRY_MAX_DELAY=soon", "RETRY_MAX_DELAY"},
		"a URL without a scheme":                            {"config.VERITY_BASE_URL=verity.example.com", "VERITY_BASE_URL"},
		"a policy that is none":                             {"config.VERITY_ON_CANCEL=delete", "VERITY_ON_CANCEL"},
		"profiles for everybody":                            {"metrics.pprof=true,metrics.secure=false", "secure"},
		"a region of no location":                           {"config.GHL_LOCATION_REGIONS=DE", "GHL_LOCATION_REGIONS"},
		"an Ingress without a host":                         {"ingress.enabled=true", "hosts"},
		"an HTTPRoute without a Gateway":                    {"httpRoute.enabled=true", "parentRefs"},
		"a trial without a database":                        {"secret.create=true", "DATABASE_URL"},
		"a digest that is none":                             {"image.digest=latest", "digest"},
		"a resource that is none":                           {"receiver.resources.requests.cpus=1", "cpus"},
		"a quantity that is none":                           {"receiver.resources.requests.memory=much", "memory"},
		"a toleration that tolerates nothing known":         {"controller.tolerations[0].effect=Never", "effect"},
		"a selector that the chart makes itself":            {"receiver.topologySpreadConstraints[0].labelSelector.x=y", "labelSelector"},
		"an external traffic policy of a ClusterIP Service": {"receiver.service.externalTrafficPolicy=Local", "externalTrafficPolicy"},
		"a node port of a ClusterIP Service":                {"receiver.service.nodePort=30080", "nodePort"},
		"source ranges without a load balancer":             {"receiver.service.type=NodePort,receiver.service.loadBalancerSourceRanges={203.0.113.0/24}", "loadBalancerSourceRanges"},
		"a load balancer class without a load balancer":     {"receiver.service.loadBalancerClass=example.com/balancer", "loadBalancerClass"},
		"an address in place of a network":                  {"receiver.service.type=LoadBalancer,receiver.service.loadBalancerSourceRanges={203.0.113.1}", "loadBalancerSourceRanges"},
		"a sidecar without an image":                        {"extraInitContainers[0].name=proxy", "image"},
		"a peer of a network policy with a typing error":    {"networkPolicy.receiverFrom[0].namespaceSelectors.x=y", "namespaceSelectors"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := helm(t, "template", "verity-sync", file(t, "config", "chart"), "--set="+test.set)
			assert.ErrorContains(t, err, test.names)
		})
	}
}

// One file has a typing error in every object that the chart or Kubernetes gives a shape to, and all of them must be found.
func TestATypingErrorIsRefusedWhereverItIs(t *testing.T) {
	t.Parallel()
	schema := readYAML(t, file(t, "config", "chart", "values.schema.json"))
	values := merged(readYAML(t, file(t, "config", "chart", "values.yaml")), readYAML(t, "testdata/options.yaml"))
	var paths []string
	misspell("", values, schema, schema["$defs"].(map[string]any), &paths)
	require.Greater(t, len(paths), 40)
	content, err := yaml.Marshal(values)
	require.NoError(t, err)
	misspelt := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(misspelt, content, 0o600))

	_, err = helm(t, "template", "verity-sync", file(t, "config", "chart"), "--values="+misspelt)
	require.Error(t, err)
	for _, path := range paths {
		assert.Contains(t, err.Error(), "at '"+path+"': ", "a typing error in %s", path)
	}
}

// merged returns values as Helm merges them.
func merged(values, over map[string]any) map[string]any {
	for key, value := range over {
		below, isObject := value.(map[string]any)
		if before, wasObject := values[key].(map[string]any); isObject && wasObject {
			value = merged(before, below)
		}
		values[key] = value
	}
	return values
}

// misspell adds an unknown property to every object that may not have it, and appends where these are to paths.
func misspell(path string, value any, schema, definitions map[string]any, paths *[]string) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	switch value := value.(type) {
	case []any:
		if items, ok := schema["items"].(map[string]any); ok && len(value) > 0 {
			misspell(path+"/0", value[0], items, definitions, paths)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for key, property := range properties {
			if below, found := value[key]; found {
				misspell(path+"/"+key, below, property.(map[string]any), definitions, paths)
			}
		}
		if schema["additionalProperties"] == false {
			value["misspelt"] = true
			*paths = append(*paths, path)
		}
	}
}

func readYAML(t *testing.T, path string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var values map[string]any
	require.NoError(t, yaml.Unmarshal(content, &values))
	return values
}
